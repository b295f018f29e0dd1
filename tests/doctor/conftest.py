PAIRING = {"min_depth": 1.0, "occlusion_test": True}
