package kv

import "context"

// A Part returns a write that belongs to a registration: all of its writes happen, or none. Users.Create calls it at
// each attempt. An error of the part ends the registration.
type Part func(context.Context) (write, error)

// writesOf returns the writes of the parts.
func writesOf(ctx context.Context, parts []Part) ([]write, error) {
	writes := make([]write, 0, len(parts))
	for _, part := range parts {
		w, err := part(ctx)
		if err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	return writes, nil
}
