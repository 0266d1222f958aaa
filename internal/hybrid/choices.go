package hybrid

import (
	"errors"
	"fmt"
	"slices"

	"crayon/internal/fault"
)

// Bounds of a query's choices.
const (
	mostChoices   = 1000
	longestChoice = 4096 // bytes
)

// checkChoices says what is wrong with a query's choices; nil is none.
func checkChoices(choices []string) error {
	if choices == nil {
		return nil
	}
	fail := func(err error) error {
		return &fault.Error{Op: "choose", Err: err, Exit: fault.ExitUsage, Hint: "give 2 or more different choices"}
	}
	if n := len(choices); n < 2 || n > mostChoices {
		return fail(fmt.Errorf("%d choices; 2 to %d are taken", n, mostChoices))
	}
	for i, c := range choices {
		switch {
		case c == "":
			return fail(errors.New("a choice is empty"))
		case len(c) > longestChoice:
			return fail(fmt.Errorf("a choice has %d bytes, at most %d are taken", len(c), longestChoice))
		case slices.Contains(choices[:i], c):
			return fail(fmt.Errorf("the choice %.40q is there twice", c))
		}
	}
	return nil
}
