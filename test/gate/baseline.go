package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
)

// Baseline is what the counts were when they were last accepted.
type Baseline struct {
	Commit string  `json:"commit"` // "-dirty" where the accepted change was not yet committed
	Go     string  `json:"go"`
	System string  `json:"system"` // GOOS/GOARCH
	Kernel string  `json:"kernel"` // level
	Counts []Entry `json:"counts"`
}

// Entry is one accepted count. More than Value + Slack has grown, less than
// Value - Slack has shrunk.
type Entry struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Value int64  `json:"value"`
	Slack int64  `json:"slack"`
}

// accept is the command that makes the present counts the baseline.
const accept = "make bench-gate ARGS=-accept"

// read reads a baseline; one that is not there is an empty one.
func read(path string) (*Baseline, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return &Baseline{}, nil
	}
	b := &Baseline{}
	if err == nil {
		err = json.Unmarshal(data, b)
	}
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return nil, &fault.Error{Op: "read baseline", Path: path, Err: err, Hint: accept, Exit: fault.ExitVerify}
	}
	return b, nil
}

func (b *Baseline) check() error {
	seen := map[string]bool{}
	for _, e := range b.Counts {
		if e.Name == "" || seen[e.Name] || e.Slack < 0 {
			return fmt.Errorf("count %q without a name, twice, or with a slack below 0", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}

func (b *Baseline) write(path string) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	err = atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
	if err != nil {
		return &fault.Error{Op: "write baseline", Path: path, Err: err, Hint: atomicfile.Hint(err, path)}
	}
	return nil
}

// with is the entries that counts make; those of subjects left out stay as
// they are.
func (b *Baseline) with(counts []Count, leftOut []string) []Entry {
	entries := make([]Entry, 0, len(counts))
	for _, c := range counts {
		entries = append(entries, Entry{Name: c.Name, What: c.What, Value: c.Value, Slack: c.Slack.of(c.Value)})
	}
	for _, e := range b.Counts {
		if isOf(e.Name, leftOut) {
			entries = append(entries, e)
		}
	}
	return entries
}
