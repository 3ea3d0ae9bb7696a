package base

import (
	"bytes"
	"context"
	"io"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Remote is [checkpoint.Remote] with bodies that are read instead of held.
type Remote interface {
	Put(ctx context.Context, name string, body io.Reader, size int64) error
	PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (created bool, err error)
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	List(ctx context.Context, prefix string) ([]checkpoint.Object, error)
	Delete(ctx context.Context, name string) error
}

// Streamed is a checkpoint.Remote as a Remote.
type Streamed struct{ checkpoint.Remote }

// Put implements Remote.
func (s Streamed) Put(ctx context.Context, name string, body io.Reader, size int64) error {
	data, err := readBody(body, size)
	if err != nil {
		return err
	}
	return s.Remote.Put(ctx, name, data)
}

// PutIfAbsent implements Remote.
func (s Streamed) PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (bool, error) {
	data, err := readBody(body, size)
	if err != nil {
		return false, err
	}
	return s.Remote.PutIfAbsent(ctx, name, data)
}

func readBody(body io.Reader, size int64) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(body, data)
	return data, err
}

// Held is a Remote as a checkpoint.Remote, the inverse of Streamed.
type Held struct{ Remote }

// Put implements checkpoint.Remote.
func (h Held) Put(ctx context.Context, name string, data []byte) error {
	return h.Remote.Put(ctx, name, bytes.NewReader(data), int64(len(data)))
}

// PutIfAbsent implements checkpoint.Remote.
func (h Held) PutIfAbsent(ctx context.Context, name string, data []byte) (bool, error) {
	return h.Remote.PutIfAbsent(ctx, name, bytes.NewReader(data), int64(len(data)))
}
