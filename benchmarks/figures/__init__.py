"""Figures, each as PNG and PDF."""
