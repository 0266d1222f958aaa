// Package fault is the error every room returns: what was being done, to which
// file or place, why it failed, and the command that mends it.
package fault

import (
	"errors"
	"strings"
)

// Exit codes of the command line; see `crayon help`.
const (
	ExitFailed  = 1 // it did not work
	ExitUsage   = 2 // wrong use: flags, arguments, configuration
	ExitVerify  = 3 // a digest, fingerprint, or proof did not hold
	ExitRefused = 4 // a budget or policy said no
)

// Error is one failure, told so that a user can act on it.
type Error struct {
	Op   string // what was being done: "read gguf", "dial"
	Path string // where: a file, "file:line", a tensor, a URL; may be empty
	Err  error  // why
	Hint string // the command or change that mends it; may be empty
	Exit int    // exit code; 0 means ExitFailed
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Path != "" {
		b.WriteString(" ")
		b.WriteString(e.Path)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Hint returns the innermost hint in err's chain, or "".
func Hint(err error) string {
	hint := ""
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Hint != "" {
			hint = e.Hint
		}
		err = e.Err
	}
	return hint
}

// Code returns the exit code for err: 0 for nil, that of the innermost Error
// that sets one, else ExitFailed.
func Code(err error) int {
	if err == nil {
		return 0
	}
	code := 0
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Exit != 0 {
			code = e.Exit
		}
		err = e.Err
	}
	if code == 0 {
		return ExitFailed
	}
	return code
}
