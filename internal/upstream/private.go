package upstream

import (
	"fmt"
	"strings"

	"crayon/internal/fault"
)

// Private is the refusal of what must stay on the device.
type Private struct {
	Kinds []string // what was found, such as card or mail; never the text itself
	Tag   string   // who tagged it private: request, customisation or conversation; "" for a finding
}

func (e *Private) Error() string {
	switch e.Tag {
	case "":
		return "private: it holds " + strings.Join(e.Kinds, ", ")
	case tagConversation:
		return "private: something earlier in the conversation was"
	case tagUnread:
		return "private: what it holds can't be told"
	}
	return fmt.Sprintf("private: the %s is tagged so", e.Tag)
}

// The tags of Private.
const (
	tagRequest      = "request"
	tagConversation = "conversation"
	tagUnread       = "unread" // the scanner could not read it
)

func private(e *Private) error {
	return &fault.Error{Op: "ask server", Err: e, Hint: "ask the device: --route device", Exit: fault.ExitRefused}
}
