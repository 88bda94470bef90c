"""The smallest Flask application: the framework's own cost and nothing else."""
import os

from flask import Flask

application = Flask(__name__)


@application.route("/")
def index():
    return "%s %d\n" % (os.environ.get("GEN", "?"), os.getpid())
