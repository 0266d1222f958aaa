package strategy

// Considered is what the chooser found of one strategy, in ranking loss a row
// less than the default's (positive is better).
type Considered struct {
	Strategy  string  `json:"strategy"`
	Observed  float64 `json:"observed"` // mean over the left-out rows
	Posterior float64 `json:"posterior"`
	Deviation float64 `json:"deviation"` // of the posterior
	Accuracy  float64 `json:"accuracy"`  // share of the left-out rows it has right
}
