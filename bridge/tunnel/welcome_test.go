package tunnel

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/semaphore"
)

// testParts is an answer of parts of the same size, each of one letter.
type testParts struct {
	mu    sync.Mutex
	built int
	total int
	size  int
	err   error // of the last part
}

func (p *testParts) Append(_ context.Context, dst []byte, size int) ([]byte, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.built++; p.built == p.total && p.err != nil {
		return nil, false, p.err
	}
	return append(dst, bytes.Repeat([]byte{'a' + byte(p.built%26)}, p.size)...), p.built == p.total, nil
}

func (p *testParts) Rewind() { p.built = 0 }

func (p *testParts) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.built
}

// meter is a Budget that knows how much is held.
type meter struct {
	*semaphore.Weighted
	mu         sync.Mutex
	held, most int64
}

func newMeter(n int64) *meter { return &meter{Weighted: semaphore.NewWeighted(n)} }

func (m *meter) Acquire(ctx context.Context, n int64) error {
	err := m.Weighted.Acquire(ctx, n)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.held += n
		m.most = max(m.most, m.held)
	}
	return err
}

func (m *meter) Release(n int64) {
	m.Weighted.Release(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held -= n
}

func (m *meter) holds() (now, most int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held, m.most
}

// TestAnswerInParts: a large answer arrives as one text message, and the dialogues that came meanwhile follow it.
func TestAnswerInParts(t *testing.T) {
	for _, size := range []int{1, 125, 126, 65535, 65536, partBytes} {
		synctest.Test(t, func(t *testing.T) {
			st := emptyStage(t, defaults())
			budget := newMeter(readingBytes)
			st.tunnel.opts.LoginBytes = budget
			parts := &testParts{total: 5, size: size}
			c := connectWith(t, st, &welcome{answer: parts})
			synctest.Wait()
			taken := c.deliver()
			synctest.Wait()
			if parts.count() != 1 {
				t.Errorf("%d parts were built before the client read one", parts.count())
			}
			kind, got, err := c.ws.ReadMessage()
			want, _, _ := (&testParts{total: 6, size: size}).all(5)
			if err != nil || kind != websocket.TextMessage || !bytes.Equal(got, want) {
				t.Errorf("parts of %d bytes: got %d bytes of kind %d, %v, want %d", size, len(got), kind, err, len(want))
			}
			if _, frame, err := c.ws.ReadMessage(); err != nil || !bytes.Contains(frame, []byte(`"payload"`)) {
				t.Errorf("the second message is %s, %v", frame, err)
			}
			synctest.Wait()
			if !taken() {
				t.Error("the dialogue was not taken")
			}
			if now, most := budget.holds(); now != 0 || most != readingBytes {
				t.Errorf("the answer holds %d bytes, and held %d", now, most)
			}
		})
	}
}

// all returns the first n parts.
func (p *testParts) all(n int) (all []byte, done bool, err error) {
	for range n {
		all, done, err = p.Append(context.Background(), all, 0)
	}
	return all, done, err
}

// TestAnswerNotRead: a client that does not read the answer to its login holds one part, and is cut off.
func TestAnswerNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := emptyStage(t, defaults())
		budget := newMeter(defaultLoginBytes)
		st.tunnel.opts.LoginBytes = budget
		parts := &testParts{total: 500, size: partBytes}
		c := connectWith(t, st, &welcome{answer: parts})
		synctest.Wait()
		if now, _ := budget.holds(); now < partBytes || now > 2*partBytes || parts.count() != 1 {
			t.Errorf("it holds %d bytes of %d parts", now, parts.count())
		}
		time.Sleep(st.tunnel.opts.Sessions.WriteTimeout + time.Second)
		synctest.Wait()
		if now, _ := budget.holds(); now != 0 || parts.count() != 1 || c.online() {
			t.Errorf("after write_timeout it holds %d bytes of %d parts, online %t", now, parts.count(), c.online())
		}
	})
}

// TestAnswerFails: a login ends if a part of its answer cannot be read, or if it is ended while it waits for memory.
func TestAnswerFails(t *testing.T) {
	for name, row := range map[string]struct {
		budget int64
		parts  *testParts
		end    func(*client)
		after  time.Duration
	}{
		"failed read":              {defaultLoginBytes, &testParts{total: 2, size: 10, err: errors.New("NATS is gone")}, func(*client) {}, 0},
		"no memory":                {readingBytes - 1, &testParts{total: 2, size: 10}, func(*client) {}, loginTimeout},
		"closed, waiting for room": {readingBytes - 1, &testParts{total: 2, size: 10}, func(c *client) { c.s.closeWith(nil, websocket.CloseGoingAway, "bye") }, 2 * linger},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := emptyStage(t, defaults())
				budget := newMeter(row.budget)
				st.tunnel.opts.LoginBytes = budget
				c := connectWith(t, st, &welcome{answer: row.parts})
				c.read(true)
				synctest.Wait()
				row.end(c)
				time.Sleep(row.after)
				synctest.Wait()
				if now, _ := budget.holds(); now != 0 || c.online() {
					t.Errorf("it holds %d bytes, online %t", now, c.online())
				}
				if len(st.tunnel.parts) != 0 {
					t.Error("it keeps a place for reading")
				}
			})
		})
	}
}

// TestWholeAnswer: a small answer is built at once, and a larger one is not kept.
func TestWholeAnswer(t *testing.T) {
	t.Parallel()
	for size, whole := range map[int]bool{10: true, maxWhole: true, maxWhole + 1: false, partBytes: false} {
		parts := &testParts{total: 1, size: size}
		w, err := newWelcome(t.Context(), parts)
		if err != nil || (len(w.whole) == size) != whole || (w.answer == nil) != whole || !whole && parts.count() != 0 {
			t.Errorf("%d bytes: %d whole, %v", size, len(w.whole), err)
		}
	}
}
