"""Many runs: ablations, label efficiency, the demo, and their reports."""
