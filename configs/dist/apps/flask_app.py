"""A Flask application: pages, a parameter, an error."""
import os

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.route("/")
def index():
    return "<h1>%s</h1><p><a href=\"hello/you\">hello/you</a>, <a href=\"environ\">environ</a>, <a href=\"error\">error</a></p>" % (
        os.environ.get("GREETING", "Hello"),)


@app.route("/hello/<name>")
def hello(name):
    return jsonify(hello=name, worker=os.getpid())


@app.route("/environ")
def environ():
    return jsonify({k: v for k, v in request.environ.items() if isinstance(v, str) and k.isupper()})


@app.route("/error")
def error():
    raise RuntimeError("an error on purpose: its traceback is in the log")
