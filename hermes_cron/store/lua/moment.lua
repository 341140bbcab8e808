-- The time, and whether everything is stopped.
return {'ok', text(micros()), stopped and 1 or 0}
