-- What the agent runs: the model's script, whose report is kept in the step that ends the run.
local script, topic = ...
local report = assert(load(script, "=script"))(topic)
_home.reports = _home.reports or {}
_home.reports[topic] = report or error("the script returns no report")
