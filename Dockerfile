# An HTTP server without torch and GPU. Settings: environment variables such as LMM_CLASSIFIER__RETRIEVAL__K.
FROM python:3.13-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.13-slim
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/constraints.txt
RUN useradd --system --uid 10001 classifier \
 && pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/*.whl)[recommended,server]" \
 && rm -r /wheels
USER 10001
WORKDIR /srv
ENV LMM_CLASSIFIER__RETRIEVAL__INDEX_PATH=/srv/index \
    LMM_CLASSIFIER__SERVER__HOST=0.0.0.0
EXPOSE 8321
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/readyz')"]
ENTRYPOINT ["lmm-classifier", "serve", "--config", "lite"]
