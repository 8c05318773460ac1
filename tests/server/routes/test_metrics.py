"""Figures for Prometheus."""

from prometheus_client.parser import text_string_to_metric_families

PNG = {"content-type": "image/png"}


def figures(client):
    """Return the value of each sample by its name and labels, which come in the order of their names."""
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def test_requests_results_and_stages_are_counted(client, images):
    """By the pattern of the address, never by the address itself."""
    before = figures(client)
    for image in images[:3]:
        client.post("/v1/classify", content=image, headers=PNG)
    client.post("/v1/classify", content=b"no image", headers=PNG)
    client.get("/v1/thumbs/" + "0" * 64)
    client.get("/unknown/<script>")
    after = figures(client)

    def grown(*name):
        return after.get(name, 0) - before.get(name, 0)

    assert grown("lmm_requests_total", "200", "/v1/classify") == 3
    assert grown("lmm_requests_total", "422", "/v1/classify") == 1
    assert grown("lmm_requests_total", "404", "/v1/thumbs/{content_hash}") == 1
    assert grown("lmm_requests_total", "404", "none") == 1
    assert grown("lmm_results_total", "unreadable") == 1
    assert sum(grown(*name) for name in after if name[0] == "lmm_results_total") == 4
    assert grown("lmm_request_seconds_count", "encode") == 3
    assert grown("lmm_score_count") == 3
    assert after["lmm_index_version",] == client.state.index_version
    assert (after["lmm_examples",], after["lmm_queue_depth",], after["lmm_index_lag_seconds",]) == (24, 0, 0)
    assert after["lmm_batch_size_count",] >= 3
    assert "script" not in str(after)


def test_edits_and_refusals_are_counted(teacher, open_client, config, encoder, images):
    """By their kind."""
    teacher.post("/v1/examples", data={"label": "x"}, files={"image": images[0]})
    assert figures(teacher)["lmm_edits_total", "add"] == 1
    config.server.queue = 1
    client = open_client(config, encoder)
    encoder.gate.clear()
    future = client.state.queue.submit(images[0], 60)
    client.post("/v1/classify", content=images[1], headers=PNG)
    encoder.gate.set()
    future.result(60)
    assert figures(client)["lmm_refused_total", "images"] == 1


def test_before_the_index_is_open(open_client, config):
    """The figures of requests are there."""
    client = open_client(config)
    client.state._opened, opened = None, client.state._opened
    assert ("lmm_index_version",) not in figures(client)
    client.state._opened = opened
