package ranks

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"crayon/internal/fault"
	"crayon/internal/rendezvous"
	"crayon/internal/train"
)

// A job is the run's configuration, how many examples it has, the examples in
// chunks, and the bytes of the checkpoint it begins at, if any: as gob, but the
// checkpoint.
type jobHead struct {
	Config     train.Config // its functions are not sent
	Examples   int
	Checkpoint int64 // bytes; -1: none is to be read
}

const chunkExamples = 1024

// count is how much is written to it.
type count int64

func (c *count) Write(b []byte) (int, error) {
	*c += count(len(b))
	return len(b), nil
}

// give gives all other ranks a run to train.
func give(g *rendezvous.Group, c train.Config, examples []train.Example) error {
	h := jobHead{Config: c, Examples: len(examples), Checkpoint: -1}
	var checkpoint *os.File
	if c.Checkpoint != "" {
		f, err := os.Open(c.Checkpoint)
		if err == nil {
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return &fault.Error{Op: "read checkpoint", Path: c.Checkpoint, Err: err}
			}
			checkpoint, h.Checkpoint = f, info.Size()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return &fault.Error{Op: "read checkpoint", Path: c.Checkpoint, Err: err}
		}
	}
	var n count
	if err := encode(&n, h, examples); err != nil {
		return err
	}
	return g.Give(int64(n)+max(0, h.Checkpoint), func(w io.Writer) error {
		b := bufio.NewWriterSize(w, 1<<20)
		if err := encode(b, h, examples); err != nil {
			return err
		}
		if checkpoint != nil {
			if _, err := io.Copy(b, io.NewSectionReader(checkpoint, 0, h.Checkpoint)); err != nil {
				return err
			}
		}
		return b.Flush()
	})
}

func encode(w io.Writer, h jobHead, examples []train.Example) error {
	e := gob.NewEncoder(w)
	if err := e.Encode(h); err != nil {
		return err
	}
	for lo := 0; lo < len(examples); lo += chunkExamples {
		if err := e.Encode(examples[lo:min(lo+chunkExamples, len(examples))]); err != nil {
			return err
		}
	}
	return nil
}

// take reads a run to train. Its checkpoint is a file of this process's own,
// which drop removes.
func take(work rendezvous.Work) (c train.Config, examples []train.Example, drop func(), err error) {
	fail := func(err error) (train.Config, []train.Example, func(), error) {
		return train.Config{}, nil, nil, &fault.Error{Op: "take work from rank 0", Err: err}
	}
	b := bufio.NewReaderSize(work.Body, 1<<20)
	h, examples, err := decode(b)
	if err != nil {
		return fail(err)
	}
	folder, err := os.MkdirTemp("", "crayon-rank-")
	if err != nil {
		return fail(err)
	}
	drop = func() { os.RemoveAll(folder) }
	c = h.Config
	c.Log, c.Plot, c.Checkpoint = "", "", ""
	c.CheckpointEvery = 1 << 62 * time.Nanosecond // rank 0 writes them
	if h.Checkpoint >= 0 {
		c.Checkpoint = filepath.Join(folder, "checkpoint")
		f, err := os.OpenFile(c.Checkpoint, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_, err = io.CopyN(f, b, h.Checkpoint)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			drop()
			return fail(err)
		}
	}
	if n, _ := io.Copy(io.Discard, b); n > 0 {
		drop()
		return fail(fmt.Errorf("%d bytes too many", n))
	}
	work.Read()
	return c, examples, drop, nil
}

func decode(b *bufio.Reader) (jobHead, []train.Example, error) {
	d := gob.NewDecoder(b)
	var h jobHead
	if err := d.Decode(&h); err != nil {
		return h, nil, err
	}
	var examples []train.Example
	for len(examples) < h.Examples {
		var chunk []train.Example
		if err := d.Decode(&chunk); err != nil {
			return h, nil, err
		}
		if len(chunk) == 0 || len(chunk) > chunkExamples || len(chunk) > h.Examples-len(examples) {
			return h, nil, fmt.Errorf("%d examples at once", len(chunk))
		}
		examples = append(examples, chunk...)
	}
	return h, examples, nil
}
