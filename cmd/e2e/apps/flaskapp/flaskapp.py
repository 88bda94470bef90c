"""A small Flask application: a page, a form and a session."""
import os

from flask import Flask, request, session

app = Flask(__name__)
app.secret_key = "only for tests"


@app.route("/")
def index():
    session["visits"] = session.get("visits", 0) + 1
    return "flask as uid %d, visit %d" % (os.getuid(), session["visits"])


@app.route("/form", methods=["POST"])
def form():
    return "%s sent %d bytes" % (request.form["name"], len(request.files["file"].read()))
