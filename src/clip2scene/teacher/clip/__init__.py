"""Image-text models: CLIP and SigLIP, from folders, hub ids or OpenAI's archives."""
