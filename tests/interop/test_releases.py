"""What this release of LiteLLM has, and what we know of it: a list, a field or a column that is new is seen here first."""
import os
import re

from lib.wire import ROOT

# Lists that are not spend, and stay the pods' own; docs/litellm.md says why.
THEIRS = {"litellm_gateway_requests_buffer", "litellm_spend_logs_buffer"}


def words(path, pattern):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return re.findall(pattern, file.read(), re.M)


def test_nothing_is_new(site):
    pod = site.pod()
    theirs = pod.ask("names")
    pod.ask("push")  # of LiteLLM's own code: the names are those of what runs
    lists = set(words("common/litellm/lists.def", r'"(litellm_\w+_buffer)"'))
    assert len(theirs["lists"]) >= 7 and set(theirs["lists"]) <= lists | THEIRS
    fields = words("common/litellm/fields.def", r'^ENTITY\(\w+, +"(\w+)"\)')
    assert len(theirs["totals"]) >= 7 and set(theirs["totals"]) <= set(fields)
    days = set(words("common/litellm/fields.def", r"^(?:COUNT|MONEY|TEXT)\((\w+)\)"))
    whose = set(words("common/litellm/lists.def", r'"(\w+)", +litellm_daily'))
    assert len(theirs["days"]) > 15 and set(theirs["days"]) <= days | whose
    # ptu_flat_cost is written by a job of its own, beside the lists.
    tables = words("workers/db_flusher/litellm.def", r'^DAILY\(\w+, +"(\w+)"')
    known = days | whose | {"id", "created_at", "updated_at", "ptu_flat_cost"}
    columns = {name for name, in site.query("select column_name from information_schema.columns where table_name = any (%s)",
                                            (tables,))}
    assert len(tables) == 6 and columns <= known, columns - known
