package server

import (
	"cmp"
	"net/http"
	"strings"

	"crayon/internal/hybrid"
)

// The request headers about what may leave.
const (
	headerPrivate      = "x-crayon-private"      // true: the query and its conversation stay here
	headerConversation = "x-crayon-conversation" // an id, by which a conversation that was private stays so
)

const maxConversation = 256 // bytes of an id

// clientOf is the name that the budget and the ledger know a request's client
// by.
func clientOf(r *http.Request) string { return cmp.Or(noteOf(r.Context()).client, keyName) }

// mark puts on a query what its request says about leaving: headers, or the
// fields private and conversation of the body.
func mark(q *hybrid.Query, r *http.Request, req *chatRequest) error {
	q.Key = clientOf(r)
	switch v := strings.ToLower(r.Header.Get(headerPrivate)); v {
	case "", "false", "0":
		q.Private = req.Private
	case "true", "1":
		q.Private = true
	default:
		// A wish for privacy is never taken for none.
		return &HTTPError{Status: http.StatusBadRequest, Param: headerPrivate, Message: headerPrivate + " " + clip(v) + ": want true or false"}
	}
	q.Conversation = r.Header.Get(headerConversation)
	if q.Conversation == "" {
		q.Conversation = req.Conversation
	}
	if len(q.Conversation) > maxConversation {
		return badField("conversation", "conversation has %d bytes; at most %d are taken", len(q.Conversation), maxConversation)
	}
	return nil
}
