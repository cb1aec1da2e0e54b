"""Decides what should run: cluster file, plan, placement, scaling, launch. Pure: no Ray, no vLLM, no clock, no I/O."""
