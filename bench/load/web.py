"""Our page in Locust's: verdicts while agents work, the pool, the database; the run's files afterwards."""

from __future__ import annotations

import argparse
from importlib import resources
from typing import Any

import locust.argument_parser
from flask import Blueprint, Response, jsonify, request, send_file

from bench.load.keeping import KeeperFailed
from bench.load.live import state_of
from bench.load.options import asked_by
from migration.errors import MigrationError

PATH = "/verdicts"

FRAME = (
    f'<iframe id="verdicts" title="Verdicts" src=".{PATH}" '
    'style="display:block;width:100%;height:1150px;border:0;border-top:4px solid #2f7d4f"></iframe>'
)
"""Put below Locust's own page: it is always in sight, whichever of Locust's tabs is open."""

FIELDS = {
    "backend": str,
    "url": str,
    "scale": float,
    "seed": int,
    "rate": float,
    "mix": str,
    "warm_up": float,
}


def add_page(environment: Any, lead: Any) -> None:
    """Add the page to the running web interface, and let its fields say which database there is."""
    ui = environment.web_ui
    _keep_the_url_off_the_page()
    page = Blueprint("verdicts", __name__, url_prefix=environment.parsed_options.web_base_path or None)

    def verdicts() -> Response:
        text = resources.files("bench.load").joinpath("page.html").read_text(encoding="utf-8")
        return Response(text, mimetype="text/html")

    def state() -> Response:
        return jsonify(state_of(lead.run, environment.runner.state, environment.runner.user_count))

    def run_file(ending: str) -> Response:
        paths = {"json": lead.run and lead.run.path, "html": lead.run and lead.run.page_path}
        path = paths.get(ending)
        if path is None:
            return Response("There is no finished run yet: stop this one first.", status=404)
        return send_file(path.resolve(), as_attachment=True, download_name=path.name)

    def prepare() -> Response | None:
        return _prepared(lead, environment.parsed_options)

    def add_frame(response: Response) -> Response:
        return _framed(response, page.url_prefix or "/")

    views = {PATH: verdicts, f"{PATH}/state": state, f"{PATH}/run.<ending>": run_file}
    for rule, view in views.items():
        page.add_url_rule(rule, view.__name__, ui.auth_required_if_enabled(view))
    ui.app.before_request(prepare)
    ui.app.after_request(add_frame)
    ui.app.register_blueprint(page)


def _prepared(lead: Any, options: Any) -> Response | None:
    """Have the database before Locust's clock begins: a server may have to be started and filled."""
    if request.method != "POST" or not request.path.endswith("/swarm"):
        return None
    try:
        lead.prepare(asked_by(_with_fields(options), url=lead.url))
    except (MigrationError, KeeperFailed, ValueError) as error:
        return jsonify({"success": False, "message": str(error)})
    return None


def _framed(response: Response, home: str) -> Response:
    """Put our page below Locust's own; other answers stay as they are."""
    is_page = response.mimetype == "text/html" and not response.direct_passthrough
    if is_page and (request.path.rstrip("/") or "/") == home:
        response.set_data(response.get_data(as_text=True).replace("</body>", f"{FRAME}</body>"))
    return response


def _with_fields(options: Any) -> argparse.Namespace:
    """Give the options as the page's form has them."""
    asked = argparse.Namespace(**vars(options))
    for name, kind in FIELDS.items():
        if name in request.form:
            setattr(asked, name, kind(request.form[name]))
    if "let_agents_write" in request.form:
        asked.let_agents_write = request.form["let_agents_write"] == "true"
    return asked


def _keep_the_url_off_the_page() -> None:
    """Leave the value of --url out of the page's source: a password may be in it."""
    told = locust.argument_parser.ui_extra_args_dict

    def without_the_url(args: Any = None) -> Any:
        fields = told(args)
        if "url" in fields:
            fields["url"] = {**fields["url"], "default_value": ""}
        return fields

    locust.argument_parser.ui_extra_args_dict = without_the_url
