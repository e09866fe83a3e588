package kv

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Seals has the key with which all servers on the same buckets encrypt what a browser keeps for them, and notes what may
// be used only once. The records are in the bucket of users.
type Seals struct{ b *bucket }

const (
	sealPrefix  = "seal."
	sealKey     = sealPrefix + "key"
	spentPrefix = "spent."

	sealBytes = 32
)

type sealRecord struct {
	Key string `json:"key"` // base64url
}

func (r sealRecord) bytes() ([]byte, error) {
	key, err := base64.RawURLEncoding.DecodeString(r.Key)
	if err == nil && len(key) != sealBytes {
		err = errors.New("wrong length")
	}
	return key, err
}

// Key returns the key, which has 32 bytes. The first call makes it; of concurrent calls on any servers, all get the same
// key.
//
// Errors: ErrReadOnly.
func (s *Seals) Key(ctx context.Context) (key []byte, err error) {
	err = compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := s.b.get(ctx, sealKey, true)
		if err == nil && !e.deleted {
			var record sealRecord
			if json.Unmarshal(e.value, &record) != nil {
				return damaged(e)
			}
			if key, err = record.bytes(); err != nil {
				return damaged(e)
			}
			return nil
		}
		if err != nil && !errors.Is(err, errKeyNotFound) {
			return err
		}
		key = make([]byte, sealBytes)
		rand.Read(key) // never fails
		value, err := json.Marshal(sealRecord{Key: base64.RawURLEncoding.EncodeToString(key)})
		if err != nil {
			return err
		}
		_, err = s.b.write(ctx, putAt(sealKey, value, 0))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kv: key for sealing: %w", err)
	}
	return key, nil
}

// Spend notes that the thing with this id has been used. Of several calls on any servers within the time life, one
// succeeds.
//
// Errors: ErrSpent, ErrReadOnly.
func (s *Seals) Spend(ctx context.Context, id string, life time.Duration) error {
	sum := sha256.Sum256([]byte(id))
	key := spentPrefix + hex.EncodeToString(sum[:])
	_, err := s.b.write(ctx, putFor(key, []byte(`{}`), entry{}, life))
	if Conflicting(err) {
		err = ErrSpent
	}
	if err != nil {
		return fmt.Errorf("kv: note a use: %w", err)
	}
	return nil
}
