package bench

import (
	"context"
	"fmt"
	"time"
)

// DialogueOptions are a load of dialogues.
type DialogueOptions struct {
	Pairs  int           // of friends who talk to each other, both ways
	Window int           // dialogues of each that may wait for their answers
	Size   int           // bytes of a payload
	Rate   float64       // dialogues a second of all; 0: as many as the windows let them
	For    time.Duration // how long they talk
}

// DialogueReport is what came of it.
type DialogueReport struct {
	Pairs     int     `json:"pairs"`
	Window    int     `json:"window"`
	Size      int     `json:"size"`
	Rate      float64 `json:"rate"` // asked for; 0: as many as go
	Seconds   float64 `json:"seconds"`
	Sent      float64 `json:"sent_per_second"`
	Delivered float64 `json:"delivered_per_second"`
	Answered  float64 `json:"answered_per_second"` // with 200
	Codes     Codes   `json:"codes"`
	Answer    Latency `json:"answer_ms"`   // from sending, or when it was due, to the answer 200
	Delivery  Latency `json:"delivery_ms"` // the same to the friend's socket
	Server    *Usage  `json:"server"`      // null where it is not known

	plot []Series
}

// Dialogue has pairs of friends talk.
func Dialogue(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o DialogueOptions) (*DialogueReport, error) {
	progress.say(fmt.Sprintf("dialogue: %d people come online", 2*o.Pairs))
	people, err := crowd.Make(ctx, 2*o.Pairs, pairsOf(o.Pairs))
	if err != nil {
		return nil, err
	}
	c, err := newChat(ctx, t, people, o.Window, o.Size, o.Rate)
	if err != nil {
		return nil, err
	}
	before := server.look()
	c.measure(o.For)
	c.start()
	stop := progress.every(c.line("dialogue", o.For))
	err = pause(ctx, o.For)
	stop()
	took := time.Since(c.begin).Seconds()
	sent, delivered, answered := c.sent.Load(), c.delivered.Load(), c.answered.Load()
	after := server.look()
	c.finish()
	if err != nil {
		return nil, err
	}
	r := &DialogueReport{Pairs: o.Pairs, Window: o.Window, Size: o.Size, Rate: o.Rate, Seconds: took,
		Sent: float64(sent) / took, Delivered: float64(delivered) / took, Answered: float64(answered) / took,
		Codes: c.codes.all(), Server: after.since(before, answered),
		plot: []Series{c.answers.Load().series("answer"), c.deliveries.Load().series("delivery")}}
	r.Answer, r.Delivery = r.plot[0].Whole, r.plot[1].Whole
	return r, nil
}

// Plot returns the latencies to plot.
func (r *DialogueReport) Plot() []Series { return r.plot }

// Rows are the report as a table.
func (r *DialogueReport) Rows() [][]string {
	asked := "as many as go"
	if r.Rate > 0 {
		asked = perSecond(r.Rate)
	}
	rows := [][]string{
		{"load", fmt.Sprintf("%d pairs, window %d, %d bytes, %s, %.1f s", r.Pairs, r.Window, r.Size, asked, r.Seconds)},
		{"sent", perSecond(r.Sent)},
		{"delivered", perSecond(r.Delivered)},
		{"answered", perSecond(r.Answered)},
		{"codes", r.Codes.String()},
		{"answer", r.Answer.String()},
		{"delivery", r.Delivery.String()},
	}
	return append(rows, r.Server.rows("dialogue")...)
}
