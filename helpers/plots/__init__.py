"""Figures over run records: functions that take points and return matplotlib figures."""
