"""What a run says of clouds, looked at in a browser, which :mod:`clip2scene.viewer.page` alone knows of."""
