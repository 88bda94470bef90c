[uwsgi]
t = %s|%e|%n
