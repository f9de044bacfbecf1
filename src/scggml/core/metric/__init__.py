"""Ground metrics: the linear map, the closed form, the refinement over triplets, and how stable they are."""
