-- Method calls: classes by metatables, inheritance two deep, operators, __index functions.
local Shape = {}
Shape.__index = Shape
function Shape.new(class, fields)
  return setmetatable(fields, class)
end
function Shape:area()
  return 0
end
function Shape:move(dx, dy)
  self.x, self.y = self.x + dx, self.y + dy
  return self
end

local Box = setmetatable({}, { __index = Shape })
Box.__index = Box
function Box:area()
  return self.width * self.height
end

local Square = setmetatable({}, { __index = Box })
Square.__index = Square
function Square:grow(by)
  self.width = self.width + by
  self.height = self.width
  return self
end

local Vector = {}
Vector.__index = Vector
local function vector(x, y)
  return setmetatable({ x = x, y = y }, Vector)
end
function Vector.__add(a, b)
  return vector(a.x + b.x, a.y + b.y)
end
function Vector.__mul(a, k)
  return vector(a.x * k, a.y * k)
end
function Vector.__eq(a, b)
  return a.x == b.x and a.y == b.y
end
function Vector:dot(other)
  return self.x * other.x + self.y * other.y
end

local shapes = {
  Shape.new(Shape, { x = 1, y = 2 }),
  Shape.new(Box, { x = 0, y = 0, width = 3, height = 4 }),
  Shape.new(Square, { x = 5, y = 5, width = 2, height = 2 }),
}
local sum = 0
for i = 1, 400000 do
  local shape = shapes[i % 3 + 1]
  sum = sum + shape:move(1, -1):area() + shape.x
end
local square = shapes[3]
for _ = 1, 300000 do
  sum = sum + square:grow(1):area() % 7
end

local position, speed = vector(0, 0), vector(3, 4)
for i = 1, 300000 do
  position = position + speed * (i % 2)
  sum = sum + position:dot(speed) % 11
  if position == speed then
    sum = sum + 1
  end
end

local lazy = setmetatable({}, {
  __index = function(_, key)
    return key * 2
  end,
})
for i = 1, 300000 do
  sum = sum + lazy[i]
end
return sum
