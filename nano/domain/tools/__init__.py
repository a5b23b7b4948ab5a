"""Tools as the test model knows them: functions of the request, and the built-in python and browser."""
