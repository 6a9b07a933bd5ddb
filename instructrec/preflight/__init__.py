"""Compiles the step of a gin file for a pod, without the pod."""
