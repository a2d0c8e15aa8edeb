package lua

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// A Value is what docs/MEMORY_PROTOCOL.md lets travel between guest and host:
//
//	nil      nil              function as bytecode    Bytecode
//	boolean  bool             built-in by its name    Builtin
//	integer  int64            function in the guest   Handle
//	float    float64          external table          External
//	string   string           inline table            *Table; the same pointer when it is the same table
//
// Lua strings are bytes, and so are Go's. In stored tables StoredFunction and StoredUpvalue occur as well.
type Value any

type (
	Bytecode       string
	Builtin        string
	Handle         uint32
	External       uint32 // id in Tables
	StoredFunction uint32 // id of the table that describes it
	StoredUpvalue  uint32 // id of the table that holds it
)

// Table is a table that came by value.
type Table struct {
	Entries []Entry
}

// Entry is one key with its value.
type Entry struct {
	Key, Value Value
}

// ErrProtocol is what errors wrap when the guest sent something that its contract does not allow.
var ErrProtocol = errors.New("the guest breaks its contract")

func protocol(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// reader takes values from the front of bytes. After a failure it gives zeros, and err says why.
type reader struct {
	bytes []byte
	err   error
}

func (r *reader) take(length uint64) []byte {
	if r.err == nil && length > uint64(len(r.bytes)) {
		r.err = protocol("a value is cut off")
	}
	if r.err != nil {
		return make([]byte, min(length, 8))
	}
	taken := r.bytes[:length]
	r.bytes = r.bytes[length:]
	return taken
}

func (r *reader) u32() uint32  { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64  { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) text() string { return string(r.take(uint64(r.u32()))) }

// open is a table that is not complete yet.
type open struct {
	table        *Table
	array, pairs uint32
	index        int64
	key          Value
}

// Decode takes encoded values apart. Without recursion: a guest may nest tables deeper than is good for a stack.
func Decode(bytes []byte) ([]Value, error) {
	r := &reader{bytes: bytes}
	values := []Value{}
	var tables []*Table // all inline tables of this message, in the order in which they began
	var stack []*open   // those that are not complete
	for {
		for len(stack) > 0 && stack[len(stack)-1].array == 0 && stack[len(stack)-1].pairs == 0 {
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 && len(r.bytes) == 0 {
			return values, nil
		}

		var value Value
		var begun *open
		switch tag := r.take(1)[0]; tag {
		case 0x00:
		case 0x01:
			value = r.take(1)[0] != 0
		case 0x02:
			value = int64(r.u64())
		case 0x03:
			value = math.Float64frombits(r.u64())
		case 0x04:
			value = r.text()
		case 0x05:
			value = Bytecode(r.text())
		case 0x06:
			value = Builtin(r.text())
		case 0x07:
			value = External(r.u32())
		case 0x08:
			begun = &open{table: &Table{}, array: r.u32(), pairs: r.u32()}
			tables = append(tables, begun.table)
			value = begun.table
		case 0x09:
			number := r.u32()
			if uint64(number) >= uint64(len(tables)) {
				return nil, protocol("table %d of the message did not begin yet", number)
			}
			value = tables[number]
		case 0x0a:
			value = Handle(r.u32())
		case 0x0b:
			value = StoredFunction(r.u32())
		case 0x0c:
			value = StoredUpvalue(r.u32())
		default:
			return nil, protocol("unknown tag %d", tag)
		}
		if r.err != nil {
			return nil, r.err
		}

		if len(stack) == 0 {
			values = append(values, value)
		} else if err := stack[len(stack)-1].add(value); err != nil {
			return nil, err
		}
		if begun != nil {
			stack = append(stack, begun)
		}
	}
}

// add takes the next value of the table.
func (o *open) add(value Value) error {
	switch {
	case o.array > 0:
		o.array--
		o.index++
		if value != nil {
			o.table.Entries = append(o.table.Entries, Entry{o.index, value})
		}
	case o.key != nil:
		o.pairs--
		o.table.Entries = append(o.table.Entries, Entry{o.key, value})
		o.key = nil
	default:
		if float, ok := value.(float64); value == nil || ok && math.IsNaN(float) {
			return protocol("a table key is nil or NaN")
		}
		o.key = value
	}
	return nil
}

// Encode is the opposite of Decode. An int is taken as well as an int64.
func Encode(values ...Value) ([]byte, error) {
	var bytes []byte
	tables := make(map[*Table]uint32) // their numbers in this message
	number := func(tag byte, number uint32) {
		bytes = binary.LittleEndian.AppendUint32(append(bytes, tag), number)
	}
	text := func(tag byte, text string) error {
		if uint64(len(text)) > math.MaxUint32 {
			return errors.New("more than 4 GiB cannot be sent")
		}
		number(tag, uint32(len(text)))
		bytes = append(bytes, text...)
		return nil
	}

	todo := make([]Value, 0, len(values))
	for i := len(values) - 1; i >= 0; i-- {
		todo = append(todo, values[i])
	}
	for len(todo) > 0 {
		value := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		var err error
		switch v := value.(type) {
		case nil:
			bytes = append(bytes, 0x00)
		case bool:
			bytes = append(bytes, 0x01, 0)
			if v {
				bytes[len(bytes)-1] = 1
			}
		case int:
			bytes = binary.LittleEndian.AppendUint64(append(bytes, 0x02), uint64(v))
		case int64:
			bytes = binary.LittleEndian.AppendUint64(append(bytes, 0x02), uint64(v))
		case float64:
			bytes = binary.LittleEndian.AppendUint64(append(bytes, 0x03), math.Float64bits(v))
		case string:
			err = text(0x04, v)
		case Bytecode:
			err = text(0x05, string(v))
		case Builtin:
			err = text(0x06, string(v))
		case External:
			number(0x07, uint32(v))
		case Handle:
			number(0x0a, uint32(v))
		case *Table:
			if known, ok := tables[v]; ok {
				number(0x09, known)
				continue
			}
			tables[v] = uint32(len(tables))
			number(0x08, 0)
			bytes = binary.LittleEndian.AppendUint32(bytes, uint32(len(v.Entries)))
			for i := len(v.Entries) - 1; i >= 0; i-- {
				todo = append(todo, v.Entries[i].Value, v.Entries[i].Key)
			}
		default:
			err = fmt.Errorf("a %T cannot be sent", value)
		}
		if err != nil {
			return nil, err
		}
	}
	return bytes, nil
}

var floatKey = regexp.MustCompile(`^-?(inf|[0-9][0-9.]*(e[-+][0-9]+)?)$`)

// DecodeKey gives the Lua key behind the text of a stored table's key. Text that starts like an escaped key and is none
// is the string itself.
func DecodeKey(text string) Value {
	switch {
	case text == `\btrue`:
		return true
	case text == `\bfalse`:
		return false
	case strings.HasPrefix(text, `\f`):
		if floatKey.MatchString(text[2:]) {
			if float, err := strconv.ParseFloat(text[2:], 64); err == nil {
				return float
			}
		}
	case strings.HasPrefix(text, `\s`):
		if key, ok := unescape(text[2:]); ok {
			return key
		}
	default:
		// Digits as Lua writes them: no leading zeros, no plus.
		number, err := strconv.ParseInt(text, 10, 64)
		if err == nil && strconv.FormatInt(number, 10) == text {
			return number
		}
	}
	return text
}

func unescape(text string) (string, bool) {
	var key strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			key.WriteByte(text[i])
			continue
		}
		rest := text[i+1:]
		switch {
		case strings.HasPrefix(rest, `\`):
			key.WriteByte('\\')
			i++
		case strings.HasPrefix(rest, "n"):
			key.WriteByte('\n')
			i++
		case strings.HasPrefix(rest, "x") && len(rest) >= 3:
			code, err := strconv.ParseUint(rest[1:3], 16, 8)
			if err != nil {
				return "", false
			}
			key.WriteByte(byte(code))
			i += 3
		default:
			return "", false
		}
	}
	return key.String(), true
}

// Show writes values for people to read.
func Show(values ...Value) string {
	shown := make(map[*Table]bool)
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = show(value, shown, 0)
	}
	return strings.Join(texts, ", ")
}

func show(value Value, shown map[*Table]bool, depth int) string {
	switch v := value.(type) {
	case nil:
		return "nil"
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if v == math.Trunc(v) && !strings.ContainsAny(text, "eIn") {
			text += ".0"
		}
		return text
	case string:
		return quote(v)
	case Bytecode:
		return "function (bytecode)"
	case Builtin:
		return "built-in " + string(v)
	case Handle:
		return "function (handle)"
	case StoredFunction:
		return "function (stored)"
	case External:
		return fmt.Sprintf("external table %d", uint32(v))
	case StoredUpvalue:
		return fmt.Sprintf("upvalue in table %d", uint32(v))
	case *Table:
		if shown[v] {
			return "{the same table}"
		}
		if depth == 8 {
			return "{...}"
		}
		shown[v] = true
		entries := make([]string, len(v.Entries))
		for i, entry := range v.Entries {
			entries[i] = fmt.Sprintf("[%s] = %s", show(entry.Key, shown, depth+1), show(entry.Value, shown, depth+1))
		}
		return "{" + strings.Join(entries, ", ") + "}"
	default:
		return fmt.Sprint(v)
	}
}

func quote(text string) string {
	var quoted strings.Builder
	quoted.WriteByte('"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			quoted.WriteByte('\\')
			quoted.WriteByte(c)
		case c >= 0x20 && c < 0x7f:
			quoted.WriteByte(c)
		default:
			fmt.Fprintf(&quoted, `\x%02x`, c)
		}
	}
	quoted.WriteByte('"')
	return quoted.String()
}
