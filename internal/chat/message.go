package chat

// Message is one turn of a conversation. Role is "system", "user", "assistant"
// or "tool"; Content is plain text and never read as template or special token.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Prompt is a rendered conversation.
type Prompt struct {
	Text    string
	Content [][2]int // byte ranges [from, to) of Text that came from message contents, ascending, not overlapping
}
