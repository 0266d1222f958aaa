// Package oracle measures how closely one engine's predictions follow
// another's: both see the same chat-formatted text, and at every position the
// distributions over the next token are compared over the whole vocabulary.
package oracle
