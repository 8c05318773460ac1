"""Several encoders: what is fitted to each, how they are fused, and which of them are asked.

Start with `encoder_fusion`. `cascade` asks them one after the other, and `ladders` compares all orders.
"""
