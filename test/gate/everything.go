package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"crayon"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/model"
	"crayon/internal/oracle"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

// The subjects that counts are of.
const (
	tinySubject   = "tiny"    // the random model of the tests
	realSubject   = "smollm2" // the model that users have
	binarySubject = "binary"
)

// everything counts all there is to count. What is left out is said.
func everything(ctx context.Context, w io.Writer) (counts []Count, leftOut []string, err error) {
	dir, err := os.MkdirTemp("", "crayon-gate-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	if counts, err = countTiny(ctx, dir); err != nil {
		return nil, nil, err
	}
	more, err := countReal(ctx)
	switch {
	case errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true":
		fmt.Fprintf(w, "%s is not here: its counts are left out (crayon pull %s)\n", oracle.Models[0], oracle.Models[0])
		leftOut = append(leftOut, realSubject)
	case err != nil:
		return nil, nil, err
	}
	counts = append(counts, more...)
	size, err := binarySize(ctx, dir)
	return append(counts, Count{binarySubject + ".linux_amd64.bytes", "bytes of the stripped program for linux/amd64", size, linked}), leftOut, err
}

// countTiny counts on the tiny model, whose files go to dir.
func countTiny(ctx context.Context, dir string) ([]Count, error) {
	files, err := newTinyFiles(dir)
	if err != nil {
		return nil, err
	}
	p, err := pool.Open(files.pool)
	if err != nil {
		return nil, err
	}
	s := &subject{name: tinySubject}
	if s.device, err = device.Open(ctx, files.model, p, device.Options{Threads: 1, PrefixCache: prefixCache}); err != nil {
		return nil, err
	}
	defer s.device.Close()
	if s.side, err = s.device.Side(ctx); err != nil {
		return nil, err
	}
	for _, count := range []func(context.Context) error{
		s.sizes, s.work, s.decode, s.prefill, s.score, s.scoreTokens, s.customise, s.allocationsOfCustomise, s.chat,
	} {
		if err := count(ctx); err != nil {
			return nil, err
		}
	}
	err = s.dials(ctx, files)
	return s.counts, err
}

// countReal counts what of the real model can be told from the tiny one's.
func countReal(ctx context.Context) ([]Count, error) {
	path, err := oracle.ModelPath(oracle.Models[0])
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, &fault.Error{Op: "find model", Path: path, Err: err, Hint: "crayon pull " + oracle.Models[0]}
	}
	p, err := crayon.OpenPool("")
	if err != nil {
		return nil, err
	}
	s := &subject{name: realSubject}
	if s.device, err = device.Open(ctx, path, p, device.Options{PrefixCache: prefixCache}); err != nil {
		return nil, err
	}
	defer s.device.Close()
	if s.side, err = s.device.Side(ctx); err != nil {
		return nil, err
	}
	for _, count := range []func(context.Context) error{s.sizes, s.work, s.scoreTokens, s.customise} {
		if err := count(ctx); err != nil {
			return nil, err
		}
	}
	return s.counts, nil
}

// prefixCache is the memory for prefixes in bytes: what the library takes when
// nothing is set.
const prefixCache = 64 << 20

// subject is a model with its pool, and the counts of it so far.
type subject struct {
	name   string
	device *device.Device
	side   *model.Side
	counts []Count
	asked  int
}

// question is a question of one length and different from all before, so that
// nothing of it is known.
func (s *subject) question() string {
	s.asked++
	return fmt.Sprintf("%04d: %s", s.asked, rows[0].question)
}

// add notes a count; figure is its name within the subject.
func (s *subject) add(figure, what string, value int64, slack slack) {
	s.counts = append(s.counts, Count{s.name + "." + figure, what, value, slack})
}

// tinyFiles are the tiny model and its pool as files.
type tinyFiles struct{ home, model, pool string }

func newTinyFiles(dir string) (tinyFiles, error) {
	f := tinyFiles{home: dir + "/home", model: dir + "/tiny.gguf", pool: dir + "/tiny.crayon"}
	return f, tiny.Write(f.model, f.pool)
}
