package talk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/recovery"
	"imctl/bridge/wire"
	"imctl/kv"
)

// home commits the dialogues that the relays of other nodes send to this node, and answers them. Answers to one relay
// that come together leave in one message.
type home struct {
	service *Service
	nc      *nats.Conn
	log     *slog.Logger
	wake    chan struct{} // has a buffer of one

	mu      sync.Mutex // guards answers
	answers map[string][]byte
}

// newHome starts to answer until ctx ends.
func newHome(s *Service, nc *nats.Conn, work *sync.WaitGroup, ctx context.Context, log *slog.Logger) *home {
	h := &home{service: s, nc: nc, log: log, wake: make(chan struct{}, 1), answers: make(map[string][]byte)}
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-h.wake:
				h.flush()
			}
		}
	})
	return h
}

// receive queues the dialogues of a message.
func (h *home) receive(m *nats.Msg) {
	defer recovery.Log(h.log, "relayed dialogues")
	err := decodeRelayed(m.Data, func(token uint64, to string, d kv.Dialogue) {
		done := &remote{home: h, reply: m.Reply, token: token}
		if err := h.service.Add(to, d, done); err != nil {
			done.Failed(err)
		}
	})
	if err != nil {
		h.log.Warn("malformed relayed dialogues", "err", err)
	}
}

// answer queues an answer.
func (h *home) answer(reply string, a answer) {
	h.mu.Lock()
	h.answers[reply] = appendAnswer(h.answers[reply], a)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// flush sends the queued answers.
func (h *home) flush() {
	h.mu.Lock()
	answers := h.answers
	h.answers = make(map[string][]byte, len(answers))
	h.mu.Unlock()
	for reply, data := range answers {
		if err := h.nc.Publish(reply, data); err != nil {
			h.log.Debug("answer a relay", "err", err) // it resolves the outcome
		}
	}
}

// remote is a dialogue of another node.
type remote struct {
	home  *home
	reply string
	token uint64
}

// Stored implements Done.
func (r *remote) Stored(d *kv.Dialogue, again bool) {
	r.home.answer(r.reply, answer{token: r.token, n: d.N, at: d.At, again: again})
}

// Failed implements Done.
func (r *remote) Failed(err error) {
	r.home.answer(r.reply, answer{token: r.token, err: err})
}

// Unstored implements Done.
func (r *remote) Unstored(*kv.Dialogue) { r.Failed(ErrStalled) }

// errRefusedThere: the home of a conversation has not stored a dialogue.
var errRefusedThere = errors.New("the node that commits the conversation has not stored the dialogue")

// answer is the outcome of a relayed dialogue.
type answer struct {
	token uint64
	n     uint64 // 0: not stored
	at    time.Time
	again bool
	err   error // a wire.Code, ErrStalled, or errRefusedThere; nil: it is stored
}

// stalledCode stands for ErrStalled in place of a code of the wire.
const stalledCode = 1

// An encoded answer has the token, the number and, if that is 0, the code of the refusal, or else the time in
// milliseconds and whether it was stored before. All are variable-length integers.
func appendAnswer(dst []byte, a answer) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, a.token), a.n)
	if a.n == 0 {
		var code wire.Code
		if !errors.As(a.err, &code) && errors.Is(a.err, ErrStalled) {
			code = stalledCode
		}
		return binary.AppendUvarint(dst, uint64(code))
	}
	again := uint64(0)
	if a.again {
		again = 1
	}
	return binary.AppendUvarint(binary.AppendVarint(dst, a.at.UnixMilli()), again)
}

// decodeAnswers calls take for each answer.
func decodeAnswers(data []byte, take func(answer)) error {
	in := reader{data: data}
	for len(in.data) > 0 {
		a := answer{token: in.uvarint(), n: in.uvarint()}
		if a.n == 0 {
			a.err = errRefusedThere
			switch code := wire.Code(in.uvarint()); code {
			case 0:
			case stalledCode:
				a.err = ErrStalled
			default:
				a.err = code
			}
		} else {
			a.at = time.UnixMilli(in.varint()).UTC()
			a.again = in.uvarint() == 1
		}
		if in.failed {
			return errRelayed
		}
		take(a)
	}
	return nil
}

// errRelayed: a message between nodes is malformed.
var errRelayed = errors.New("malformed")

// appendRelayed appends a dialogue: its length in bytes, then token, receiver, and the dialogue as a record of its own,
// which has its users.
func appendRelayed(dst []byte, e *relayed) []byte {
	d := e.d
	d.At = time.UnixMilli(0)
	rec := kv.EmptyRecord(e.pair, 0).Next(1, []kv.Dialogue{d}).Append(nil)
	var token [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(token[:], e.token)
	dst = binary.AppendUvarint(dst, uint64(n+len(e.pair.A)+len(e.pair.B)+len(rec)))
	dst = append(dst, token[:n]...)
	return append(append(append(dst, e.pair.A...), e.pair.B...), rec...)
}

// idSize is the length of a user's id.
const idSize = 32

// decodeRelayed calls take for each dialogue.
func decodeRelayed(data []byte, take func(token uint64, to string, d kv.Dialogue)) error {
	in := reader{data: data}
	for len(in.data) > 0 {
		one := reader{data: in.bytes(in.uvarint())}
		token := one.uvarint()
		p := kv.Pair{A: string(one.bytes(idSize)), B: string(one.bytes(idSize))}
		if in.failed || one.failed {
			return errRelayed
		}
		r, err := kv.DecodeRecord(p, 0, one.data)
		if err != nil || len(r.Dialogues) != 1 {
			return fmt.Errorf("%w: %w", errRelayed, err)
		}
		d := r.Dialogues[0]
		take(token, p.Other(d.From), d)
	}
	return nil
}

// reader reads the integers and bytes of a message.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	return r.skip(v, n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	r.skip(0, n)
	return v
}

func (r *reader) skip(v uint64, n int) uint64 {
	if n <= 0 {
		r.failed, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.failed, r.data = true, nil
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}
