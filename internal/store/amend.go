package store

import (
	"bytes"
	"errors"
	"fmt"

	"crayon/internal/fault"
)

// ErrChanged is the cause when a content is not what its writer read.
var ErrChanged = errors.New("it was changed meanwhile")

// Amend replaces the content of a name in place and keeps no version: for what
// belongs to the content that is there, such as its proof. was is that content;
// when there is another by now, nothing is written.
func (c *Customisations) Amend(name string, was, data []byte) error {
	fail := func(err error) error {
		return &fault.Error{Op: "amend customisation", Path: name, Err: err, Hint: "crayon show " + name}
	}
	if len(data) > maxEntry {
		return fail(fmt.Errorf("%d bytes, more than %d", len(data), maxEntry))
	}
	return c.change(func() error {
		if err := c.exists(name); err != nil {
			return err
		}
		is, err := ReadFile(c.Path(name), maxEntry)
		if err != nil {
			return err
		}
		if !bytes.Equal(is, was) {
			return fail(ErrChanged)
		}
		return WriteBytes(c.Path(name), data)
	})
}
