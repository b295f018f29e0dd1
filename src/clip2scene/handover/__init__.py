"""Labels on their way to people's tools and back: exports for annotation tools and viewers, and imports."""
