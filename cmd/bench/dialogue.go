package bench

import (
	"context"
	"fmt"
	"time"
)

// DialogueOptions are the options of Dialogue.
type DialogueOptions struct {
	Pairs  int           // pairs of friends who send dialogues to each other
	Window int           // unanswered dialogues per user
	Size   int           // bytes of a payload
	Rate   float64       // dialogues per second of all users; 0 means that only the window limits them
	For    time.Duration // duration of the measurement
	Keep   bool          // the users keep conversations
}

// DialogueReport is the result of Dialogue.
type DialogueReport struct {
	Pairs     int     `json:"pairs"`
	Window    int     `json:"window"`
	Size      int     `json:"size"`
	Rate      float64 `json:"rate"` // requested rate; 0 without a limit
	Seconds   float64 `json:"seconds"`
	Sent      float64 `json:"sent_per_second"`
	Delivered float64 `json:"delivered_per_second"`
	Answered  float64 `json:"answered_per_second"` // with 200 or 202
	Kept      bool    `json:"kept"`
	Received  float64 `json:"acknowledgements_per_second"` // that the users of kept conversations send
	Codes     Codes   `json:"codes"`
	Answer    Latency `json:"answer_ms"`   // from the time when the dialogue was sent or due to the answer 200 or 202
	Delivery  Latency `json:"delivery_ms"` // from the same time to the arrival at the friend
	Server    *Usage  `json:"server"`      // null if unknown
	// Limit describes the limit of the server that the users have reached, "" if it is not known to be reached.
	Limit string `json:"limited_by,omitempty"`

	plot []Series
}

// Dialogue measures dialogues between pairs of friends.
func Dialogue(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o DialogueOptions) (*DialogueReport, error) {
	progress.show(fmt.Sprintf("dialogue: creating and logging in %d accounts", 2*o.Pairs))
	people, err := crowd.Make(ctx, 2*o.Pairs, pairsOf(o.Pairs))
	if err != nil {
		return nil, err
	}
	c, err := newChat(ctx, t, people, o)
	if err != nil {
		return nil, err
	}
	before := server.sample()
	c.measure(o.For)
	c.run()
	stop := progress.every(c.progressText("dialogue", o.For))
	err = sleep(ctx, o.For)
	stop()
	seconds := time.Since(c.start).Seconds()
	sent, delivered, answered, acknowledged := c.sent.Load(), c.delivered.Load(), c.answered.Load(), c.acknowledged.Load()
	after := server.sample()
	c.finish()
	if err != nil {
		return nil, err
	}
	r := &DialogueReport{Pairs: o.Pairs, Window: o.Window, Size: o.Size, Rate: o.Rate, Seconds: seconds,
		Sent: float64(sent) / seconds, Delivered: float64(delivered) / seconds, Answered: float64(answered) / seconds,
		Kept: o.Keep, Received: float64(acknowledged) / seconds,
		Codes: c.codes.all(), Server: after.since(before, answered),
		plot: []Series{c.answers.Load().series("answer"), c.deliveries.Load().series("delivery")}}
	r.Answer, r.Delivery = r.plot[0].Whole, r.plot[1].Whole
	return r, nil
}

// Plot implements Report.
func (r *DialogueReport) Plot() []Series { return r.plot }

// Rows implements Report.
func (r *DialogueReport) Rows() [][]string {
	rate := "no rate limit"
	if r.Rate > 0 {
		rate = perSecond(r.Rate)
	}
	rows := [][]string{
		{"load", fmt.Sprintf("%d pairs, window %d, %d bytes, %s, %.1f s", r.Pairs, r.Window, r.Size, rate, r.Seconds)},
		{"sent", perSecond(r.Sent)},
		{"delivered", perSecond(r.Delivered)},
		{"answered", perSecond(r.Answered)},
		{"codes", r.Codes.String()},
		{"answer", r.Answer.String()},
		{"delivery", r.Delivery.String()},
	}
	if r.Limit != "" {
		rows = append(rows, []string{"limited by", r.Limit})
	}
	if r.Kept {
		rows = append(rows, []string{"acknowledged", perSecond(r.Received) + " (frames)"})
	}
	return append(rows, r.Server.rows("dialogue")...)
}
