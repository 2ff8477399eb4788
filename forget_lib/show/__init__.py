"""Figures, tables and sentences made of records."""
