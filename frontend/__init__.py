"""The Django-rendered console."""
