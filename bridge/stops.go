package bridge

import (
	"context"
	"errors"
)

// stops are the steps of a shutdown. The last step added runs first.
type stops []func(context.Context) error

func (s *stops) add(step func(context.Context) error) { *s = append(*s, step) }

// run runs all steps and returns their errors.
func (s *stops) run(ctx context.Context) (err error) {
	for i := len(*s) - 1; i >= 0; i-- {
		err = errors.Join(err, (*s)[i](ctx))
	}
	*s = nil
	return err
}
