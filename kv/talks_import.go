package kv

import (
	"context"
	"fmt"
)

// importNonce marks the records that Import has stored.
const importNonce = 0x696d706f7274

// Import stores dialogues of an exported conversation with their numbers, which ascend without gaps. It continues a
// conversation that Import has stored, or one without records. It returns how many dialogues it has stored: those that
// the conversation has already stay as they are, and a conversation that has other records does not change.
//
// Errors: ErrConflict, ErrReadOnly.
func (t *Talks) Import(ctx context.Context, p Pair, dialogues []Dialogue) (stored int, err error) {
	if len(dialogues) == 0 || !p.valid() {
		return 0, nil
	}
	err = compareAndSwap(ctx, func(ctx context.Context) error {
		head, err := t.Last(ctx, p)
		if err != nil {
			return err
		}
		rest := dialogues
		switch {
		case head == nil:
			head = EmptyRecord(p, dialogues[0].N-1)
		case head.Nonce != importNonce, dialogues[0].N > head.Last+1:
			return nil
		default:
			rest = dialogues[min(head.Last+1-dialogues[0].N, uint64(len(dialogues))):]
		}
		if stored = len(rest); stored == 0 {
			return nil
		}
		return t.publish(ctx, head.Next(importNonce, append([]Dialogue{}, rest...)))
	})
	if err != nil {
		return 0, fmt.Errorf("kv: import a conversation: %w", err)
	}
	return stored, nil
}
