"""The rules that every method and every task must keep."""
