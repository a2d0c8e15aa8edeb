package lua

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// Request is a call of a declared function, which waits for its answer.
type Request struct {
	ID   uint32
	Name string
	Args []Value
}

// ErrNoRequest says that nothing waits for such an answer.
var ErrNoRequest = errors.New("no run waits for this")

// requests are the calls of declared functions, which are answered by whoever started the run. Until then nothing of the
// run is on any stack.
type requests struct {
	started bool // is there a run that its starter answers?
	names   []string
	open    map[uint32]Request
	answers []byte // those that were given, as the export resume takes them
	said    []byte
}

// sleep is the number of the function behind task.sleep.
const sleep = 0xffffffff

// How answers begin. The last one is complete: it ends the run, and the script can't catch it.
var (
	results     = []byte{0}
	failed      = []byte{1, 1, 0, 0, 0, 0} // the message gets the place of the call in front
	waiting     = []byte{4}
	interrupted = []byte{2, 6, 0, 0, 0}
)

// declare gives a function its number.
func (r *requests) declare(name string) uint32 {
	r.names = append(r.names, name)
	return uint32(len(r.names) - 1)
}

// handle takes what the guest asks on the host channel; nil for what this host does not offer.
func (r *requests) handle(request []byte) []byte {
	in := &reader{bytes: request}
	operation := in.take(1)[0]
	switch {
	case in.err != nil:
		return nil
	case operation == 0x00: // the answer just given, for which the buffer was too small
		return r.said
	case operation == 0x01 || operation == 0x09:
		r.said = r.call(in, operation == 0x09)
		return r.said
	case operation == 0x0a: // nobody waits for this one any more
		delete(r.open, in.u32())
		return []byte{}
	}
	return nil
}

// call takes the call of a function. Where the script can't wait (not later), the guest tells it so.
func (r *requests) call(in *reader, later bool) []byte {
	request := Request{Name: "task.sleep"}
	if number := in.u32(); uint64(number) < uint64(len(r.names)) {
		request.Name = r.names[number]
	} else if number != sleep {
		return nil
	}
	if !r.started {
		message, _ := Encode("'" + request.Name + "' is answered by whoever starts the run")
		return slices.Concat(failed, message)
	}
	if later {
		request.ID = in.u32()
		if in.err == nil {
			request.Args, in.err = Decode(in.bytes)
		}
		if in.err != nil {
			return nil
		}
		r.open[request.ID] = request
	}
	return waiting
}

// settle takes the answer to an open request.
func (r *requests) settle(id uint32, status []byte, values ...Value) error {
	encoded, err := Encode(values...)
	if err != nil {
		return err
	}
	if _, ok := r.open[id]; !ok {
		return ErrNoRequest
	}
	delete(r.open, id)
	r.answers = appendAnswer(r.answers, id, slices.Concat(status, encoded))
	return nil
}

// interrupt makes an answer that ends the run the only one, if it waits for anything.
func (r *requests) interrupt() {
	var id uint32 // of no request
	if len(r.answers) > 0 {
		id = binary.LittleEndian.Uint32(r.answers)
	}
	for open := range r.open {
		id = open
	}
	clear(r.open)
	r.answers = appendAnswer(nil, id, interrupted)
}

func appendAnswer(answers []byte, id uint32, answer []byte) []byte {
	answers = binary.LittleEndian.AppendUint32(answers, id)
	answers = binary.LittleEndian.AppendUint32(answers, uint32(len(answer)))
	return append(answers, answer...)
}

// list gives the open requests in the order of their ids.
func (r *requests) list() []Request {
	list := make([]Request, 0, len(r.open))
	for _, id := range slices.Sorted(maps.Keys(r.open)) {
		list = append(list, r.open[id])
	}
	return list
}

// begin lets the run go: the guest has the answers.
func (r *requests) begin() {
	r.started, r.answers = true, nil
}

// end is called when the run has ended: nobody waits for anything any more.
func (r *requests) end() {
	r.started = false
	clear(r.open)
}
