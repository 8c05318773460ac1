"""What a collection of images costs: bytes, GPU hours, queries a second. Start with `plan`: `plan_capacity`."""
