-- Floats in table fields: the Sun and four planets under gravity, symplectic Euler steps.
local pi = math.pi
local solar_mass = 4 * pi * pi
local year = 365.24

local function body(x, y, z, vx, vy, vz, mass)
  return {
    x = x, y = y, z = z,
    vx = vx * year, vy = vy * year, vz = vz * year,
    mass = mass * solar_mass,
  }
end

local bodies = {
  body(0, 0, 0, 0, 0, 0, 1),
  body(4.84143144246472082945e+00, -1.16032004402742839362e+00, -1.03622044471123109494e-01,
    1.66007664274403694959e-03, 7.69901118419740425080e-03, -6.90460016972063023554e-05,
    9.54791938424326609124e-04),
  body(8.34336671824457987790e+00, 4.12479856412430479268e+00, -4.03523417114321381293e-01,
    -2.76742510726411014990e-03, 4.99852801234917238954e-03, 2.30417297573763929463e-05,
    2.85885980666130812119e-04),
  body(1.28943695621391310164e+01, -1.51111514016986312525e+01, -2.23307578892655734398e-01,
    2.96460137564761618652e-03, 2.37847173959480950188e-03, -2.96589568540237556131e-05,
    4.36624404335156298062e-05),
  body(1.53796971148509165498e+01, -2.59193146099879641146e+01, 1.79258772950371181757e-01,
    2.68067772490389322072e-03, 1.62824170038242295431e-03, -9.51592254519715870972e-05,
    5.15138902046611451304e-05),
}

local function still_centre()
  local px, py, pz = 0, 0, 0
  for _, b in ipairs(bodies) do
    px = px + b.vx * b.mass
    py = py + b.vy * b.mass
    pz = pz + b.vz * b.mass
  end
  local sun = bodies[1]
  sun.vx, sun.vy, sun.vz = -px / solar_mass, -py / solar_mass, -pz / solar_mass
end

local function step(dt)
  local count = #bodies
  for i = 1, count do
    local a = bodies[i]
    for j = i + 1, count do
      local b = bodies[j]
      local dx, dy, dz = a.x - b.x, a.y - b.y, a.z - b.z
      local distance2 = dx * dx + dy * dy + dz * dz
      local pull = dt / (distance2 * math.sqrt(distance2))
      local on_a, on_b = b.mass * pull, a.mass * pull
      a.vx, a.vy, a.vz = a.vx - dx * on_a, a.vy - dy * on_a, a.vz - dz * on_a
      b.vx, b.vy, b.vz = b.vx + dx * on_b, b.vy + dy * on_b, b.vz + dz * on_b
    end
  end
  for i = 1, count do
    local a = bodies[i]
    a.x, a.y, a.z = a.x + dt * a.vx, a.y + dt * a.vy, a.z + dt * a.vz
  end
end

local function energy()
  local sum = 0
  for i, a in ipairs(bodies) do
    sum = sum + 0.5 * a.mass * (a.vx ^ 2 + a.vy ^ 2 + a.vz ^ 2)
    for j = i + 1, #bodies do
      local b = bodies[j]
      local dx, dy, dz = a.x - b.x, a.y - b.y, a.z - b.z
      sum = sum - a.mass * b.mass / math.sqrt(dx * dx + dy * dy + dz * dz)
    end
  end
  return sum
end

still_centre()
local before = energy()
for _ = 1, 70000 do
  step(0.01)
end
return string.format("%.12f %.12f", before, energy())
