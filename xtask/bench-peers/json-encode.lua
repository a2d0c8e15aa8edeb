-- Encodes what 1 MB of JSON means, twenty times: with lua-cjson where that is, else with luacell's own module.
local found, json = pcall(require, "cjson")
if not found then json = require "json" end

local record = '{"id": 1%d, "name": "user %d", "email": "user%d@example.org", "active": true, "score": %d.7312, '
  .. '"tags": ["red", "green", "blue"], "address": {"street": "%d Main Street", "city": "Zürich", "zip": "8001", '
  .. '"geo": [47.376887, 8.541694]}, "note": "line one\\nline \\"two\\"", "parent": null}'
local records = {}
for i = 1, 100 do records[i] = record:gsub("%%d", i) end
local block = table.concat(records, ",\n")
local text = "[" .. (block .. ",\n"):rep(35) .. block .. "]"

local list = json.decode(text)
local sum = 0
for _ = 1, 20 do sum = sum + #json.encode(list) end
return sum
