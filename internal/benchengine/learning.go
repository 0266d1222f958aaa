package benchengine

import "crayon/internal/learner"

// Learning is an engine that also learns, on the processor.
type Learning struct {
	*Engine
	*learner.Learner
}

// Learning lets the strategies that train do so; they score through e.
func (e *Engine) Learning() Learning {
	return Learning{e, learner.New(e, e.d, learner.Options{})}
}
