-- What a language model might write: plain code, several calls at a time.
local task = require "task"
local topic = ...

local hits = search(topic, 6)
local notes = task.each(hits, function(hit)
  local ok, page = pcall(fetch, hit.url)
  _home.pages = (_home.pages or 0) + 1 -- kept from the next wait on, and counted once, whatever comes
  return hit.title .. ": " .. (ok and page.text or "can't be read")
end, {limit = 3})

local summary, critique = task.all(
  function() return ask("Summarize:\n" .. table.concat(notes, "\n")) end,
  function() return ask("What is missing about " .. topic .. "?") end)
return {topic = topic, notes = notes, summary = summary, critique = critique}
